"""The page that runs exported graphs in a browser."""
