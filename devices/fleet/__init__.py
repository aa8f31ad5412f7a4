"""Fleet: one bundle to many devices, a few first, and no further than it goes well."""
