"""A Docker engine of the tests' own, and images that stand in where no registry of images is reached."""
