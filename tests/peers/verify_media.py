#!/usr/bin/env python3
"""Compares the two legs of a call in a capture: every SRTP packet is decrypted by libsrtp (pylibsrtp) and its payload must be
that of a packet on the plain leg, in the same order.

An end may be "*": a peer that sends from elsewhere than it said.

  verify_media.py capture.pcapng '[{"secure": ["ip:port", "ip:port"], "plain": [from, to], "suite": ..., "key": base64, "sealed_here": bool}]'
Prints one JSON object for each pairing: equal, lost, secure, plain. Exit 1 with a reason otherwise."""
import base64
import json
import struct
import subprocess
import sys

import pylibsrtp

PROFILES = {
    "AES_CM_128_HMAC_SHA1_80": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": pylibsrtp.Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
    "AEAD_AES_128_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_128_GCM,
    "AEAD_AES_256_GCM": pylibsrtp.Policy.SRTP_PROFILE_AEAD_AES_256_GCM,
}
# Packets that may be missing at the beginning and the end of a leg: they cross the set-up, a re-INVITE or the BYE.
CROSSING = 6

def packets(capture):
    """[(from, to, UDP payload)] in order of capture."""
    fields = ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "udp.payload"]
    command = ["tshark", "-r", capture, "-Y", "udp", "-T", "fields"] + [w for f in fields for w in ("-e", f)]
    out = []

    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for line in text.splitlines():
        src, sport, dst, dport, payload = (line.split("\t") + [""] * 5)[:5]
        if payload:
            out.append(("%s:%s" % (src, sport), "%s:%s" % (dst, dport), bytes.fromhex(payload.replace(":", ""))))
    return out

def is_rtp(data):
    return len(data) >= 12 and data[0] >> 6 == 2 and not 192 <= data[1] <= 223

def payload(data):
    """Payload type, payload without header, extension, padding."""
    start = 12 + 4 * (data[0] & 15)
    if data[0] & 0x10:
        start += 4 + 4 * struct.unpack(">H", data[start + 2:start + 4])[0]
    end = len(data) - (data[-1] if data[0] & 0x20 else 0)
    return data[start:end]

def fail(text):
    print(text)
    sys.exit(1)

def between(seen, ends):
    """RTP from one end to the other; "*" is any address."""
    return [p for src, dst, p in seen if ends[0] in ("*", src) and ends[1] in ("*", dst) and is_rtp(p)]


def compare(seen, want):
    sealed = between(seen, want["secure"])
    plain = between(seen, want["plain"])
    policy = pylibsrtp.Policy(key=base64.b64decode(want["key"]), ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILES[want["suite"]])
    session = pylibsrtp.Session(policy=policy)
    opened = []
    for n, data in enumerate(sealed):
        try:
            opened.append(payload(session.unprotect(data)))
        except pylibsrtp.Error as error:
            fail("%s: packet %d of %d does not decrypt: %s" % (want["secure"], n, len(sealed), error))
    clear = [payload(p) for p in plain]
    first, second = (clear, opened) if want["sealed_here"] else (opened, clear)
    # Everything that came out of the gateway went into it, in that order; what is missing stands at an edge.
    at, lost = 0, 0
    for n, item in enumerate(second):
        try:
            found = first.index(item, at)
        except ValueError:
            fail("%s: packet %d of %d was not sent so by the other leg (%d packets)" % (want, n, len(second), len(first)))
        lost += found - at
        at = found + 1
    lost += len(first) - at
    if lost > CROSSING:
        fail("%s: %d of %d packets never left the gateway" % (want, lost, len(first)))
    return dict(equal=len(second), lost=lost, secure=len(sealed), plain=len(plain))

if __name__ == "__main__":
    seen = packets(sys.argv[1])
    print(json.dumps([compare(seen, want) for want in json.loads(sys.argv[2])]))
