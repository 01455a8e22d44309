"""The DICOM application entity: associations, C-ECHO, C-STORE, and what becomes of an instance."""
