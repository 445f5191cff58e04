"""A corpus format is one file: nothing else names it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.programs import ROOT
from vqtok.corpus.format import named
from vqtok.corpus.formats import FORMATS

LINES = '''
"""Format "lines": each shard a text of names and numbers of codes, for this test."""

import io
from vqtok.codes import files
from vqtok.corpus import items
from vqtok.corpus.format import Format
from vqtok.corpus.items import Entry


class Lines(Format):
    name = "lines"

    def write(self, staging, shard, entries):
        (name,) = self.shard_files(shard)
        with staging.fresh(name) as out:
            for entry in entries:
                whole = io.BytesIO()
                files.write(whole, entry.codes, entry.header)
                line = {**items.label(entry), "codes": whole.getvalue().hex()}
                out.write(items.dump(line).encode() + b"\\n")
        return [out.written]

    def read(self, folder, info, shard):
        (whole,) = shard.ranges
        for line in items.lines(folder / whole.path, start=0, size=whole.bytes):
            label = items.read_label(line, info.spec)
            codes, header = files.read(io.BytesIO(bytes.fromhex(line["codes"])))
            yield Entry(label.number, label.name, codes, header)


FORMAT = Lines()
'''

PROGRAM = """
import sys; from pathlib import Path
from tests.corpus.samples import small
folder = Path(sys.argv[1])
corpus = small()
with corpus.open(folder, "lines") as writer:
    for number in (0, 1, 2, 4):
        corpus.put(writer, number)
corpus.write(folder, "lines")
corpus.assert_read_back(folder)
small(job="b").write(folder, "lines", restart=True)
small("audio").write(folder, "tar", restart=True)
assert not [path.name for path in folder.iterdir() if path.suffix == ".lines"]
"""


def test_a_new_format_is_one_file(tmp_path: Path):
    package = ROOT / "vqtok"
    shutil.copytree(package, tmp_path / "vqtok", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "vqtok" / "corpus" / "formats" / "lines.py").write_text(LINES)
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "corpus")]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_format_is_called_as_its_file():
    assert FORMATS == ("arrow", "bin", "files", "parquet", "tar")
    assert [named(name).name for name in FORMATS] == list(FORMATS)
