"""Published costs of the systems' networks, in GMACs per image, as their papers count them."""

RESNET101 = 7.8227
"""ResNet-101 at 224 pixels, with batch normalisation; papers also round it to 7.82."""

RESNET50 = 4.1103
"""ResNet-50 at 224 pixels."""

LIGHT112 = 0.081
"""MobileNet-V2 at 112 pixels."""

LIGHT84 = 0.0529
"""MobileNet-V2 at 84 pixels."""

PREVIEW = 3.13
"""Listen-to-look's preview of all frames of a video, as much as MobileNet-V2 at 224 pixels takes for ten."""

AR_NET = {"ResNet-50 at 224": 4.1099, "ResNet-34 at 168": 2.2489, "ResNet-18 at 112": 0.4862, "policy": 0.0527 + 0.0033}
"""AR-Net: each action that processes a frame, and a decision of the policy, MobileNet-V2 at 84 with its LSTM."""
