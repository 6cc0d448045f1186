"""Analysis schemes: forecast ensemble and measurement in, analysis ensemble out."""
