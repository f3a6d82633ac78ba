"""The drawing of the synthetic faces; `face.draw_with` puts the parts together."""
