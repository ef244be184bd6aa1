"""Brings noted.v1, which is generated from the contract into gen/python, into the package.

In the repository it lies outside of this project, where setuptools would not put it into an sdist; there it is copied to where it belongs. An
sdist holds it as src/noted/v1 and builds without the repository.
"""
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
GENERATED = HERE.parent.parent / "gen" / "python" / "noted" / "v1"
PACKAGES = ["noted", "noted.paypal", "noted.receiver"]


def copy_generated(command, folder):
    if not GENERATED.is_dir():
        raise SystemExit(f"there is neither src/noted/v1 nor {GENERATED}: build in a checkout of the repository, or from an sdist")
    command.mkpath(str(folder))
    for file in sorted(GENERATED.glob("noted_pb2*.py*")):
        command.copy_file(str(file), str(folder / file.name))


class BuildWithGenerated(build_py):
    def run(self):
        super().run()
        if not (HERE / "src/noted/v1").is_dir():
            copy_generated(self, Path(self.build_lib, "noted", "v1"))


class SdistWithGenerated(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        if not (HERE / "src/noted/v1").is_dir():
            copy_generated(self, Path(base_dir, "src", "noted", "v1"))


setup(
    packages=PACKAGES + (["noted.v1"] if (HERE / "src/noted/v1").is_dir() else []),
    package_dir={"": "src"},
    package_data={"noted": ["py.typed"], "noted.v1": ["*.pyi"]},
    cmdclass={"build_py": BuildWithGenerated, "sdist": SdistWithGenerated},
)
