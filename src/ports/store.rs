//! The object store: named objects with a generation, metadata and compare-and-set writes.
