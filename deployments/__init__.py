"""One file per replica class: load a model, answer typed calls."""
