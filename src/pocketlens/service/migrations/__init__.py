"""Migrations: `migrate` runs them."""
