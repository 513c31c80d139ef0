"""Tests of the build plane."""
