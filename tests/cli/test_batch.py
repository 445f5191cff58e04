"""What encode and decode say of many files: of those that are done, and how to go on."""

from __future__ import annotations

from vqtok.pipeline import encode


def test_ctrl_c_says_what_is_done_and_how_to_go_on(vqtok, picture, monkeypatch):
    for name in ("a", "b", "c"):
        picture(f"d/{name}.png", width=24, height=24)
    whole = encode.encode

    def interrupted(*args, **kwargs):
        yield next(iter(whole(*args, **kwargs)))
        raise KeyboardInterrupt

    monkeypatch.setattr(encode, "encode", interrupted)
    result = vqtok("encode", "d", "-o", "out/")
    assert result.exit_code == 130
    assert result.stdout == "out/a.safetensors\n"
    assert "stopped: 1 of 3 encoded; the same command with --skip-existing goes on" in result.stderr


def test_an_output_without_o_is_hinted_at(vqtok, picture):
    picture("a.png", width=24, height=24)
    result = vqtok("encode", "a.png", "out.npy")
    assert result.exit_code == 1
    assert "Hint: -o out.npy writes it" in result.stderr
