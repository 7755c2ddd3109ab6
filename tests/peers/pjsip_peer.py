#!/usr/bin/env python3
"""A PJSIP client for the black-box tests: the Teams end (TLS with a client certificate, SDES mandatory) or a carrier
(UDP or TCP, plain RTP). Reads one JSON command a line on stdin, prints one JSON event a line on stdout.

Commands: {"do": "call", "uri": ...} {"do": "answer", "code": 180} {"do": "hangup", "code": 486} {"do": "hold", "form": "sendonly"}
          {"do": "resume"} {"do": "rekey"} {"do": "dtmf", "digits": "12#"} {"do": "stats"} {"do": "quit"}
          {"do": "register"} {"do": "unregister"} {"do": "transfer", "to": URI} {"do": "transfer", "to_call": "second"}
          A hold has one of three forms: "sendonly" (without "form" too), "inactive", "null" (c=0.0.0.0, RFC 2543).
          There are two calls at most, "first" and "second"; "on" says which a command is for, "first" where it is missing.
Events:   ready, registration, incoming, state, media, transfer, stats, error, gone; "on" as in commands. Every message sent or received
          stands in --log.
"""
import argparse
import json
import os
import select
import sys
import time

import pjsua2 as pj


def options():
    p = argparse.ArgumentParser()
    p.add_argument("--transport", choices=("udp", "tcp", "tls"), required=True)
    p.add_argument("--bind", required=True, help="address of signalling and media")
    p.add_argument("--port", type=int, required=True)
    p.add_argument("--rtp-port", type=int, default=43000)
    p.add_argument("--id", required=True, help="our address of record, such as sip:+14255550100@sip.teams.test")
    p.add_argument("--contact", help="Contact URI instead of the bound address")
    p.add_argument("--route", help="where every call goes first, such as sip:127.0.0.11:5061;transport=tls")
    p.add_argument("--auth", help="name:password, for challenges of any realm")
    p.add_argument("--registrar", help="where it registers, such as sip:127.0.0.10:5060;transport=udp")
    p.add_argument("--expires", type=int, default=300, help="for how long")
    p.add_argument("--dns", help="address of the name server (port 53)")
    p.add_argument("--cert")
    p.add_argument("--key")
    p.add_argument("--ca")
    p.add_argument("--srtp", action="store_true")
    p.add_argument("--codec", default="PCMU/8000/1", help="the codec offered first")
    p.add_argument("--play", required=True, help="WAV that is played into every call")
    p.add_argument("--record", required=True, help="WAV of what was heard")
    p.add_argument("--log", required=True)
    p.add_argument("--answer", type=int, default=200, help="final status for an incoming call; 0: wait for a command")
    p.add_argument("--reliable", action="store_true", help="100rel is mandatory")
    p.add_argument("--calls", type=int, default=1, choices=(1, 2), help="how many calls are taken at a time")
    p.add_argument("--ring", type=int, default=180, help="provisional status before it; 0: none")
    return p.parse_args()


a = options()
# By name; and those that are over, which PJSIP may still touch.
calls = {}
over = []


def say(event, **more):
    try:
        print(json.dumps(dict(event=event, **more)), flush=True)
    except BrokenPipeError:
        os._exit(1)


# What the media of a call are told to do, where PJSIP's own hold does not say it.
DIRECTIONS = {"sendonly": pj.PJMEDIA_DIR_ENCODING, "inactive": pj.PJMEDIA_DIR_NONE, "sendrecv": pj.PJMEDIA_DIR_ENCODING_DECODING}


class Call(pj.Call):
    """One call; connects the player and the recorder whenever its media become active."""

    def name(self):
        return next((name for name, call in calls.items() if call is self), None)

    def onCallState(self, prm):
        i = self.getInfo()
        name = self.name()
        say("state", on=name, state=i.stateText, code=i.lastStatusCode, reason=i.lastReason, call_id=i.callIdString)
        if i.state == pj.PJSIP_INV_STATE_DISCONNECTED and name:
            over.append(calls.pop(name))

    def onCallTransferStatus(self, prm):
        say("transfer", on=self.name(), code=prm.statusCode, final=prm.finalNotify)

    def onCallTransferRequest(self, prm):
        calls["second"] = prm.newCall = Call(account)

    def onCallMediaState(self, prm):
        status = []
        info = self.getInfo()  # owns the vector
        for n, m in enumerate(info.media):
            if m.type != pj.PJMEDIA_TYPE_AUDIO:
                continue
            status.append({pj.PJSUA_CALL_MEDIA_NONE: "none", pj.PJSUA_CALL_MEDIA_ACTIVE: "active",
                           pj.PJSUA_CALL_MEDIA_LOCAL_HOLD: "local hold",
                           pj.PJSUA_CALL_MEDIA_REMOTE_HOLD: "remote hold"}.get(m.status, "error"))
            if m.status in (pj.PJSUA_CALL_MEDIA_ACTIVE, pj.PJSUA_CALL_MEDIA_REMOTE_HOLD):
                audio = self.getAudioMedia(n)
                player.startTransmit(audio)
                audio.startTransmit(recorder)
        say("media", on=self.name(), status=status[0] if status else "none", streams=status)

    def onDtmfDigit(self, prm):
        say("dtmf", digit=prm.digit)


class Account(pj.Account):
    """Takes as many calls at a time as it may."""

    def onRegState(self, prm):
        say("registration", code=prm.code, reason=prm.reason, expires=prm.expiration)

    def onIncomingCall(self, prm):
        call = Call(self, prm.callId)
        free = [name for name in ("first", "second")[:a.calls] if name not in calls]
        if not free:
            over.append(call)
            answer(call, 486)
            return
        calls[free[0]] = call
        text = prm.rdata.wholeMsg
        i = call.getInfo()
        say("incoming", on=free[0], remote=i.remoteUri, local=i.localUri, uri=text.split(None, 2)[1])
        if a.ring:
            answer(call, a.ring)
        if a.answer:
            answer(call, a.answer)


def answer(call, code):
    prm = pj.CallOpParam()
    prm.statusCode = code
    call.answer(prm)


def obey(line):
    c = json.loads(line)
    do = c["do"]
    if do == "quit":
        return False
    if do in ("register", "unregister"):
        account.setRegistration(do == "register")
        return True
    name = c.get("on", "first")
    if do == "call":
        calls[name] = Call(account)
        calls[name].makeCall(c["uri"], pj.CallOpParam(True))
        return True
    call = calls.get(name)
    if call is None:
        say("error", error="no call", do=do)
        return True
    prm = pj.CallOpParam()
    if do == "answer":
        answer(call, c.get("code", 200))
    elif do == "hangup":
        prm.statusCode = c.get("code", 0)
        call.hangup(prm)
    elif do == "hold" and c.get("form") == "null":
        # What the account is told to do with every hold.
        call.setHold(prm)
    elif do in ("hold", "resume"):
        again = pj.CallOpParam(True)
        again.opt.flag = pj.PJSUA_CALL_UNHOLD | pj.PJSUA_CALL_SET_MEDIA_DIR
        again.opt.mediaDir.append(DIRECTIONS["sendrecv" if do == "resume" else c.get("form", "sendonly")])
        call.reinvite(again)
    elif do == "rekey":
        again = pj.CallOpParam(True)
        again.opt.flag = pj.PJSUA_CALL_UNHOLD | pj.PJSUA_CALL_REINIT_MEDIA
        call.reinvite(again)
    elif do == "transfer" and "to_call" in c:
        call.xferReplaces(calls[c["to_call"]], prm)
    elif do == "transfer":
        call.xfer(c["to"], prm)
    elif do == "dtmf":
        call.dialDtmf(c["digits"])
    elif do == "stats":
        s = call.getStreamStat(0).rtcp
        i = call.getStreamInfo(0)
        say("stats", on=name, rx=s.rxStat.pkt, tx=s.txStat.pkt, lost=s.rxStat.loss, duplicates=s.rxStat.dup, codec=i.codecName,
            peer=call.getMedTransportInfo(0).srcRtpName)
    else:
        say("error", error="unknown command", do=do)
    return True


endpoint = pj.Endpoint()
endpoint.libCreate()
config = pj.EpConfig()
config.logConfig.level = 5
config.logConfig.consoleLevel = 0
config.logConfig.msgLogging = 1
config.logConfig.filename = a.log
config.uaConfig.threadCnt = 0
config.uaConfig.mainThreadOnly = True
config.uaConfig.userAgent = "PJSIP peer"
if a.dns:
    config.uaConfig.nameserver.append(a.dns)
config.medConfig.noVad = True
config.medConfig.ecTailLen = 0
config.medConfig.clockRate = 8000
config.medConfig.sndClockRate = 8000
endpoint.libInit(config)
transport = pj.TransportConfig()
transport.boundAddress = a.bind
transport.port = a.port
if a.transport == "tls":
    transport.tlsConfig.certFile = a.cert
    transport.tlsConfig.privKeyFile = a.key
    transport.tlsConfig.CaListFile = a.ca
    # The peer's name cannot be checked by a client that dials an address; its chain is.
    transport.tlsConfig.verifyServer = False
    transport.tlsConfig.verifyClient = True
    transport.tlsConfig.requireClientCert = True
kinds = {"udp": pj.PJSIP_TRANSPORT_UDP, "tcp": pj.PJSIP_TRANSPORT_TCP, "tls": pj.PJSIP_TRANSPORT_TLS}
endpoint.transportCreate(kinds[a.transport], transport)
endpoint.libStart()
endpoint.audDevManager().setNullDev()
endpoint.codecSetPriority(a.codec, 254)
player = pj.AudioMediaPlayer()
player.createPlayer(a.play)
recorder = pj.AudioMediaRecorder()
recorder.createRecorder(a.record)

settings = pj.AccountConfig()
settings.idUri = a.id
# Left alone PJSIP names the address of the default route in Contact, not the one that it is bound to.
user = a.id.partition(":")[2].rpartition("@")[0]
settings.sipConfig.contactForced = "<%s>" % (a.contact or "sip:%s@%s:%d;transport=%s" % (user, a.bind, a.port, a.transport))
if a.route:
    settings.sipConfig.proxies.append("<%s;lr;hide>" % a.route)
if a.auth:
    name, _, word = a.auth.partition(":")
    settings.sipConfig.authCreds.append(pj.AuthCredInfo("digest", "*", name, 0, word))
if a.registrar:
    settings.regConfig.registrarUri = a.registrar
    settings.regConfig.timeoutSec = a.expires
    settings.regConfig.retryIntervalSec = settings.regConfig.firstRetryIntervalSec = 1
    settings.regConfig.dropCallsOnFail = False
settings.natConfig.viaRewriteUse = 0
settings.natConfig.contactRewriteUse = 0
settings.mediaConfig.transportConfig.boundAddress = a.bind
settings.mediaConfig.transportConfig.port = a.rtp_port
settings.mediaConfig.srtpUse = pj.PJMEDIA_SRTP_MANDATORY if a.srtp else pj.PJMEDIA_SRTP_DISABLED
settings.mediaConfig.srtpSecureSignaling = 0
if a.reliable:
    settings.callConfig.prackUse = pj.PJSUA_100REL_MANDATORY
settings.callConfig.holdType = pj.PJSUA_CALL_HOLD_TYPE_RFC2543
account = Account()
account.create(settings)
say("ready")

pending = b""
running = True
while running:
    endpoint.libHandleEvents(5)
    while select.select([sys.stdin], [], [], 0)[0]:
        data = os.read(0, 65536)
        if not data:
            running = False
            break
        pending += data
        while b"\n" in pending:
            line, _, pending = pending.partition(b"\n")
            try:
                running = obey(line) and running
            except pj.Error as e:
                say("error", error=e.reason, do=line.decode())
for call in list(calls.values()):
    try:
        call.hangup(pj.CallOpParam())
    except pj.Error:
        pass
end = time.monotonic() + 1
while calls and time.monotonic() < end:
    endpoint.libHandleEvents(5)
# Closes the WAV and writes the rest of the log; the order keeps PJSIP from touching what is gone.
calls.clear()
over.clear()
call = None
del player, recorder
account.shutdown()
endpoint.libDestroy()
say("gone")
os._exit(0)
