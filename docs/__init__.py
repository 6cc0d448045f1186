"""The site: its pages, and what runs their code and builds them."""
