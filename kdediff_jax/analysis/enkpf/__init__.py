"""The ensemble Kalman particle filter, global and localised, and the stages of its analysis."""
