"""Cloud bills into figures that people act on and auditors trust."""
