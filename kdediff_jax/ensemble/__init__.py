"""Pure functions on ensembles: covariances, gains, transforms, inflation, localisation, draws."""
