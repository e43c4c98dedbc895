"""The science: AnnData and arrays in, arrays out. Knows no Qt, no napari and no file paths."""
