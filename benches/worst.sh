#!/bin/sh
# What the dearest bytes cost: every kind of benches/traffic/hostile.py beside plain traffic of the same size.
#
# usage: worst.sh [KIND...]      see worst.py for the settings and the columns
cd "$(dirname "$0")/.." && exec python3 benches/worst.py "$@"
