"""Where on a photo a network's answer comes from: one file a method."""
