"""The packages of the four floors, which setup.cfg cannot list: each floor is a folder at the top of the repository."""

from setuptools import find_packages, setup

FLOORS = {
    "adafocus_rl": "adafocus_rl",
    "adafocus_rl.envs": "envs",
    "adafocus_rl.agents": "agents",
    "adafocus_rl.experiments": "experiments",
}

# An installation claims one name only, adafocus_rl. The links to the floors in adafocus_rl/ find the same packages.
setup(
    package_dir=FLOORS,
    packages=sorted(
        {name for name, folder in FLOORS.items() for name in (name, *(f"{name}.{p}" for p in find_packages(folder)))}
    ),
)
