"""The published settings, one module each; `kdediff_jax.experiments.CATALOGUE` names them."""
