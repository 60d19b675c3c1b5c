"""The packages of the wheel, which pyproject.toml cannot list: configs/ is installed as ``lit_cnn.configs``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["lit_cnn", "lit_cnn.*"]), "lit_cnn.configs"],
    package_dir={"lit_cnn.configs": "configs"},
)
