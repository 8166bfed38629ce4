"""The browser studio: one page and the server behind it, for the machine it runs on."""
