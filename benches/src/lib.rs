//! Speed of the parts, side by side with peers in the same run; see `benches/`.
