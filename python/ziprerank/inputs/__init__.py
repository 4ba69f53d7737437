"""Turns PDFs, image files, Pillow images and arrays into pixels of the size that a bundle reads."""
