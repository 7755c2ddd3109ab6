#!/usr/bin/env python3
"""Judges by libsrtp (pylibsrtp) what both ends of many calls sent and received while the gateway between them died and came back.

One context for each direction of each call, kept over all lives of the gateway:
- what the secure end received authenticates under one key, no index comes twice, and the sequence only goes forward;
- what the secure end sent is byte for byte what libsrtp would have sent;
- each payload that came out of the gateway went into it, in that order;
- in each life that a call lived to see, so many packets came through both ways;
- with a new key of the secure end its contexts begin anew, at rollover counter 0; the gateway's goes on.

  verify_tape.py TAPE '[{"call": n, "suite": ..., "own": base64, "theirs": base64, "lives": n, "least": n}]'
A tape is a row of records: call (u16), kind (u8), length (u16), all little endian, and the packet. Kind: 1 of the secure end, 2 received,
4 (alone) the gateway has died, 8 (alone) the secure end sends under the key that follows.
Prints one JSON object: packets, reports (the fewest that an end of a call received), jump (of the sequence at the begin of a life), least. Exit 1 with a reason otherwise."""
import base64
import json
import struct
import sys

from pylibsrtp import Error, Policy, Session

from verify_media import PROFILES, fail, is_rtp, payload

HEAD = struct.Struct("<HBH")
SECURE, RECEIVED, DIED, REKEYED = 1, 2, 4, 8
TAGS = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 10, "AEAD_AES_128_GCM": 0, "AEAD_AES_256_GCM": 0}


def session(want, key, ssrc):
    return Session(policy=Policy(key=base64.b64decode(want[key]), ssrc_type=ssrc, srtp_profile=PROFILES[want["suite"]]))


class Call:
    def __init__(self, want):
        self.want = want
        self.received = session(want, "theirs", Policy.SSRC_ANY_INBOUND)
        self.sent = session(want, "own", Policy.SSRC_ANY_INBOUND)
        self.again = session(want, "own", Policy.SSRC_ANY_OUTBOUND)
        # Towards the plain end and towards the secure one: number of each payload, the last that came, how many came in each life.
        self.numbers, self.said, self.last, self.came = ({}, {}), [0, 0], [-1, -1], ({}, {})
        self.sequence, self.index, self.life = {}, {}, {}
        self.jump = self.reports = self.heard = 0

    def rekey(self, key):
        self.want = dict(self.want, own=key)
        self.sent = session(self.want, "own", Policy.SSRC_ANY_INBOUND)
        self.again = session(self.want, "own", Policy.SSRC_ANY_OUTBOUND)

    def wrong(self, text):
        fail("call %d: %s" % (self.want["call"], text))

    def open(self, data, life):
        """What the secure end received."""
        try:
            clear = self.received.unprotect(data)
        except Error as error:
            self.wrong("in life %d a packet does not authenticate: %s" % (life, error))
        sequence, ssrc = struct.unpack(">2xH4xI", data[:12])
        if ssrc in self.sequence:
            step = (sequence - self.sequence[ssrc]) & 0xFFFF
            if not 0 < step < 0x8000:
                self.wrong("sequence %d after %d" % (sequence, self.sequence[ssrc]))
            if self.life[ssrc] != life:
                self.jump = max(self.jump, step)
        self.sequence[ssrc], self.life[ssrc] = sequence, life
        return clear

    def report(self, data):
        try:
            self.received.unprotect_rtcp(data)
        except Error as error:
            self.wrong("a report does not authenticate: %s" % error)
        end = len(data) - TAGS[self.want["suite"]]
        index, ssrc = struct.unpack(">I", data[end - 4:end])[0] & 0x7FFFFFFF, data[4:8]
        if index <= self.index.get(ssrc, -1):
            self.wrong("SRTCP index %d after %d" % (index, self.index[ssrc]))
        self.index[ssrc] = index
        self.reports += 1

    def take(self, kind, data, life):
        secure, received = kind & SECURE, kind & RECEIVED
        if not is_rtp(data):
            if secure:
                self.report(data) if received else self.sent.unprotect_rtcp(data)
            elif received:
                self.heard += 1
            return
        clear = data
        if secure and received:
            clear = self.open(data, life)
        elif secure:
            clear = self.sent.unprotect(data)
            if self.again.protect(clear) != data:
                self.wrong("what the end sends is not what libsrtp would send")
        # Towards the secure end: it received, or the plain one sent.
        way = 1 if bool(secure) == bool(received) else 0
        numbers, body = self.numbers[way], payload(clear)
        if not received:
            # A payload may come again, when the numbers have gone round.
            self.said[way] += 1
            numbers[body] = self.said[way]
            return
        if numbers.get(body, -1) <= self.last[way]:
            self.wrong("in life %d came what was not sent, or not in that order (%s end)" % (life, "secure" if secure else "plain"))
        self.last[way] = numbers[body]
        self.came[way][life] = self.came[way].get(life, 0) + 1

    def least(self):
        """The smallest number of packets that came one way in a life that this call lived to see."""
        least = min(came.get(life, 0) for came in self.came for life in range(self.want["lives"] + 1))
        if least < self.want["least"]:
            self.wrong("%d packets only: %s to the plain end, %s to the secure one, by life" % ((least,) + self.came))
        return least


def main(tape, wanted):
    calls = {want["call"]: Call(want) for want in wanted}
    life = packets = 0
    with open(tape, "rb") as file:
        while head := file.read(HEAD.size):
            call, kind, length = HEAD.unpack(head)
            if kind == DIED:
                life += 1
                continue
            data = file.read(length)
            if call in calls and kind == REKEYED:
                calls[call].rekey(data.decode())
            elif call in calls:
                packets += 1
                calls[call].take(kind, data, life)
    print(json.dumps(dict(
        packets=packets,
        reports=min(min(call.reports, call.heard) for call in calls.values()),
        jump=max(call.jump for call in calls.values()),
        least=min(call.least() for call in calls.values()),
    )))


main(sys.argv[1], json.loads(sys.argv[2]))
