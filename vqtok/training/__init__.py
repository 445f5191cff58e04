"""From a folder of files to a model directory."""
