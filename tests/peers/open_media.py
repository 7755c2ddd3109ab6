#!/usr/bin/env python3
"""What one address of a capture was sent by another: RTP in order, decrypted by libsrtp (pylibsrtp) where there is a key.

  open_media.py capture.pcapng '[{"ends": [from, to], "suite": ..., "key": base64}]'
Prints for each one array of packets: type, sequence, timestamp, SSRC, payload in hexadecimal. Exit 1 when a packet or a report
does not decrypt."""
import json
import struct
import sys

from verify_media import between, packets, payload, unlock

seen = packets(sys.argv[1])


def read(want):
    opened = unlock(seen, want["ends"], want["suite"], want["key"])[0] if want.get("key") else between(seen, want["ends"])
    return [(p[1] & 0x7F, *struct.unpack(">HII", p[2:12]), payload(p).hex()) for p in opened]


print(json.dumps([read(want) for want in json.loads(sys.argv[2])]))
