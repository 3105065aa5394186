"""The report's pictures, each as SVG with real text, in the colours of the page."""
