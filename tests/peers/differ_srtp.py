#!/usr/bin/env python3
"""libsrtp (pylibsrtp) as the other implementation: does with packets what it is asked to, in order.

Reads lines: "new NAME SUITE HEX in|out" makes a context; "protect|protect_rtcp|unprotect|unprotect_rtcp NAME HEX" uses it.
Prints for each use a line: the packet in hexadecimal, or "-" when it was refused."""
import signal
import sys

from pylibsrtp import Error, Policy, Session

from verify_media import PROFILES

# Whoever asks has gone, or hangs.
signal.alarm(120)
contexts = {}
for line in sys.stdin:
    op, name, *rest = line.split()
    if op == "new":
        suite, key, way = rest
        kind = Policy.SSRC_ANY_INBOUND if way == "in" else Policy.SSRC_ANY_OUTBOUND
        contexts[name] = Session(policy=Policy(key=bytes.fromhex(key), ssrc_type=kind, srtp_profile=PROFILES[suite]))
        continue
    try:
        print(getattr(contexts[name], op)(bytes.fromhex(rest[0] if rest else "")).hex())
    except (Error, ValueError, TypeError):
        print("-")
