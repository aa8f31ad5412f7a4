"""Flash: a bundle brought to a device, proven there, and made the one that is served, or nothing changed."""
