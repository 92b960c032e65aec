"""How a model's outputs become people in a frame: `bottom_up` sees the whole frame at once, `top_down` crops around people."""
