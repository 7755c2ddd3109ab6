#!/usr/bin/env python3
"""Compares the two legs of a call in a capture: every SRTP packet is decrypted by libsrtp (pylibsrtp) and its payload must be
that of a packet on the plain leg, in the same order; every SRTCP packet is decrypted too.

An end may be "*": a peer that sends from elsewhere than it said. Its reports are left alone (baresip's first is in clear).

  verify_media.py capture.pcapng '[{"secure": ["ip:port", "ip:port"], "plain": [from, to], "suite": ..., "key": base64, "sealed_here": bool,
                                    "exchanges": offers and answers in the call, its first one among them}]'
Prints one JSON object for each pairing: equal, lost, secure, plain, reports. Exit 1 with a reason otherwise."""
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
# Packets that may be missing: so many cross the set-up and the BYE, and one each re-INVITE.
CROSSING = 6

def packets(capture):
    """[(from, to, UDP payload)] in order of capture."""
    fields = ["ip.src", "udp.srcport", "ip.dst", "udp.dstport", "udp.payload"]
    command = ["tshark", "-r", capture, "-Y", "udp", "-T", "fields"] + [w for f in fields for w in ("-e", f)]
    out = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tshark:
        for line in tshark.stdout:
            src, sport, dst, dport, payload = (line.rstrip("\n").split("\t") + [""] * 5)[:5]
            if payload:
                out.append(("%s:%s" % (src, sport), "%s:%s" % (dst, dport), bytes.fromhex(payload.replace(":", ""))))
    if tshark.returncode:
        fail("tshark: exit %d on %s" % (tshark.returncode, capture))
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


def reports(seen, ends):
    """RTCP from one end to the other, on the port of RTP or the next one."""
    def fits(end, address):
        ip, port = address.rsplit(":", 1)
        return end in ("*", address, "%s:%d" % (ip, int(port) - 1))
    return [p for src, dst, p in seen if fits(ends[0], src) and fits(ends[1], dst) and len(p) >= 8 and p[0] >> 6 == 2 and not is_rtp(p)]


def unlock(seen, ends, suite, key):
    """The RTP packets from one end to the other in clear, and how many RTCP packets there were besides."""
    session = pylibsrtp.Session(policy=pylibsrtp.Policy(
        key=base64.b64decode(key), ssrc_type=pylibsrtp.Policy.SSRC_ANY_INBOUND, srtp_profile=PROFILES[suite]))
    sealed, rtcp = between(seen, ends), [] if ends[0] == "*" else reports(seen, ends)
    opened = []
    for what, packets, unprotect in (("packet", sealed, session.unprotect), ("report", rtcp, session.unprotect_rtcp)):
        for n, data in enumerate(packets):
            try:
                clear = unprotect(data)
            except pylibsrtp.Error as error:
                fail("%s: %s %d of %d does not decrypt: %s" % (ends, what, n, len(packets), error))
            if what == "packet":
                opened.append(clear)
    return opened, len(rtcp)


def compare(seen, want):
    plain = between(seen, want["plain"])
    opened, told = unlock(seen, want["secure"], want["suite"], want["key"])
    opened = [payload(p) for p in opened]
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
    if lost > CROSSING + want["exchanges"] - 1:
        fail("%s: %d of %d packets never left the gateway" % (want, lost, len(first)))
    return dict(equal=len(second), lost=lost, secure=len(opened), plain=len(plain), reports=told)

if __name__ == "__main__":
    seen = packets(sys.argv[1])
    print(json.dumps([compare(seen, want) for want in json.loads(sys.argv[2])]))
