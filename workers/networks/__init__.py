"""Torch and MONAI modules, nothing else."""
