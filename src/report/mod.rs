//! Scores, curves and pictures to PNG, SVG and HTML.
