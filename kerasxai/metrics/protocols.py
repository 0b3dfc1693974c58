"""The box protocols by name.

`"kerasxai"`: bilinear resizing, thresholds as fractions of the maximum, half-open boxes, the plain IoU; a map without
evidence has no box. `"wsolevaluation"`: the pipeline of Choe et al., see `kerasxai.metrics.wsol`.
"""

from kerasxai.metrics.box_protocol import BoxProtocol
from kerasxai.metrics.kerasxai_protocol import KerasxaiProtocol
from kerasxai.metrics.wsol.protocol import WsolProtocol
from kerasxai.tools.errors import unknown

KERASXAI, WSOL = KerasxaiProtocol(), WsolProtocol()
_BY_NAME: dict[str, BoxProtocol] = {protocol.name: protocol for protocol in (KERASXAI, WSOL)}
PROTOCOLS = tuple(_BY_NAME)


def protocol_of(name: str) -> BoxProtocol:
    """Return the protocol of a name.

    Raises:
        KerasxaiError: There is no such protocol.
    """
    if name not in PROTOCOLS:
        raise unknown("protocol", name, PROTOCOLS)
    return _BY_NAME[name]
