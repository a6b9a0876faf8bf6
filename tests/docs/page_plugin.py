"""The example plugin of docs/plugins.md, installed in a folder by its metadata alone."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tomllib
from pathlib import Path

from doc_pages import ROOT, blocks


def _write_checkpoint(folder: Path) -> None:
    """The smallest whole checkpoint: a config and one tensor of one number."""
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["AnyForCausalLM"]}')
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    content = struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.0)
    (folder / "model.safetensors").write_bytes(content)


class Example:
    """A folder with the page's files, installed by metadata alone, and its own environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for block in blocks("plugins.md"):
            if name := block.word("file"):
                file = folder / name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.code)
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        stem = f"{project['name'].replace('-', '_')}-{project['version']}"
        info = folder / f"{stem}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = project["entry-points"]["joulebench"]
        lines = ["[joulebench]", *(f"{name} = {module}" for name, module in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
        _write_checkpoint(folder / "model")
        (folder / "power1_input").write_text("2500000\n")

    def joulebench(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command line with the example plugin installed."""
        parts = [str(self.folder), *(str(ROOT / item) for item in ("core", "plugins", "profiles", "reports"))]
        environment = {
            **os.environ,
            "JOULEBENCH_CACHE": str(self.folder / "cache"),
            "PYTHONPATH": os.pathsep.join(parts),
        }
        return subprocess.run(
            [sys.executable, "-m", "joulebench", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
