"""CIEDE2000: how different two colours look, after Sharma, Wu and Dalal (2005).

"The CIEDE2000 color-difference formula: implementation notes, supplementary test data, and
mathematical observations", Color Research and Application 30(1), 21-30. About 2.3 is a difference
that is just seen beside each other; from 10 on two thin lines are not taken for each other.
"""

from __future__ import annotations

from math import atan2, cos, degrees, exp, hypot, radians, sin, sqrt

Lab = tuple[float, float, float]


def lab(rgb: tuple[int, int, int]) -> Lab:
    """sRGB (0 to 255) to CIELAB under D65."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in
              (channel / 255 for channel in rgb)]  # fmt: skip
    r, g, b = linear
    x = (0.4124564 * r + 0.3575761 * g + 0.1804375 * b) / 0.95047
    y = 0.2126729 * r + 0.7151522 * g + 0.0721750 * b
    z = (0.0193339 * r + 0.1191920 * g + 0.9503041 * b) / 1.08883
    fx, fy, fz = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def difference(one: Lab, other: Lab) -> float:
    """CIEDE2000 of two colours, all weights 1."""
    (l1, a1, b1), (l2, a2, b2) = one, other
    # Chroma, with a stretched for greyish colours.
    mean = (hypot(a1, b1) + hypot(a2, b2)) / 2
    stretch = 1.5 - 0.5 * sqrt(mean**7 / (mean**7 + 25.0**7))
    a1, a2 = a1 * stretch, a2 * stretch
    c1, c2 = hypot(a1, b1), hypot(a2, b2)
    h1 = degrees(atan2(b1, a1)) % 360 if c1 else 0.0
    h2 = degrees(atan2(b2, a2)) % 360 if c2 else 0.0
    # The hue goes the shorter way round.
    turn = (h2 - h1 + 180) % 360 - 180 if c1 * c2 else 0.0
    hue = h1 + h2 if not c1 * c2 else (h1 + turn / 2) % 360
    lightness, chroma = (l1 + l2) / 2, (c1 + c2) / 2
    delta = (l2 - l1, c2 - c1, 2 * sqrt(c1 * c2) * sin(radians(turn / 2)))
    weight = (
        1
        - 0.17 * cos(radians(hue - 30))
        + 0.24 * cos(radians(2 * hue))
        + 0.32 * cos(radians(3 * hue + 6))
        - 0.20 * cos(radians(4 * hue - 63))
    )
    s_l = 1 + 0.015 * (lightness - 50) ** 2 / sqrt(20 + (lightness - 50) ** 2)
    s_c, s_h = 1 + 0.045 * chroma, 1 + 0.015 * chroma * weight
    blue = 2 * sqrt(chroma**7 / (chroma**7 + 25.0**7))
    rotation = -blue * sin(radians(60 * exp(-(((hue - 275) / 25) ** 2))))
    parts = delta[0] / s_l, delta[1] / s_c, delta[2] / s_h
    return sqrt(sum(part**2 for part in parts) + rotation * parts[1] * parts[2])
