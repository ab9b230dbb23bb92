"""Every text of the page, in English and Korean: one file a screen, `KEY: (English, Korean)`."""
