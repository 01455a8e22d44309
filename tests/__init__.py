"""Tests; ``builders`` makes their data. A package, lest a package of that name among the installed ones wins."""
