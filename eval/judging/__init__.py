"""What all evaluations share: the networks, the videos, the settings, fitting, and testing every video once."""
