#!/usr/bin/env python3
"""Draws docs/scaling.svg: the efficiency of 1 to 1024 ranks, by `train --plan`, for all presets.

    bench/ranks/plot.py [BUILD_FOLDER] [docs/scaling.svg]

A node is a machine like this one, with a rank. A step has 1024 parts of 8 x 256 tokens.
"""

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

PRESETS = {'tiny': '#56b4e9', 'mini': '#0072b2', 'small': '#009e73', 'base': '#e69f00',
           'medium': '#d55e00', 'large': '#cc79a7', '7b': '#000000'}
NETWORKS = ['25Gbps,20us', '1Gbps,50us']
RANKS = 1024
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 260, 50, 40, 90


def efficiencies(train, text, preset, network):
    command = [train, '--plan', '--json', '--config', preset, '--data', text, '--recipe',
               'documented', '--batch', '8', '--accumulate', str(RANKS), '--steps', '1000',
               '--ranks', str(RANKS), '--network', network]
    plan = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return [(row['ranks'], row['efficiency']) for row in plan['at_scale']['rows']]


def panel(left, network, curves):
    """Returns the SVG of one network. curves: {preset: [(ranks, efficiency)]}"""
    def x(ranks):
        return left + WIDTH * math.log2(ranks) / math.log2(RANKS)

    def y(efficiency):
        return TOP + HEIGHT * (1 - efficiency)

    parts = [f'<text x="{left}" y="{TOP - 16}" font-weight="bold">{network}</text>']
    for percent in range(0, 101, 20):
        at = y(percent / 100)
        parts.append(f'<path d="M{left} {at}H{left + WIDTH}" stroke="#ddd"/>'
                     f'<text x="{left - 8}" y="{at + 4}" text-anchor="end">{percent} %</text>')
    for power in range(0, 11, 2):
        parts.append(f'<text x="{x(2 ** power):.0f}" y="{TOP + HEIGHT + 18}" '
                     f'text-anchor="middle">{2 ** power}</text>')
    parts.append(f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 36}" '
                 'text-anchor="middle">ranks</text>')
    names = sorted(curves, key=lambda name: -curves[name][-1][1])
    label = TOP - 14
    for name in names:
        points = ' '.join(f'{x(r):.1f},{y(e):.1f}' for r, e in curves[name])
        label = max(label + 14, y(curves[name][-1][1]) + 4)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{PRESETS[name]}" '
                     'stroke-width="2"/>'
                     f'<text x="{left + WIDTH + 6}" y="{label:.1f}" fill="{PRESETS[name]}">'
                     f'{name}</text>')
    return '\n'.join(parts)


def main():
    build = Path(sys.argv[1] if len(sys.argv) > 1 else 'build').resolve()
    out = Path(sys.argv[2] if len(sys.argv) > 2 else 'docs/scaling.svg')
    panels = []
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / 'text.txt'  # long enough for a step
        text.write_text('To be, or not to be, that is the question.\n' * 80_000)
        for i, network in enumerate(NETWORKS):
            curves = {preset: efficiencies(build / 'bin' / 'train', text, preset, network)
                      for preset in PRESETS}
            print(network, {name: round(curve[-1][1], 3) for name, curve in curves.items()})
            panels.append(panel(LEFT + i * (WIDTH + GAP), network, curves))
    size = f'{LEFT + 2 * WIDTH + GAP + 60} {TOP + HEIGHT + 50}'
    out.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
                   'font-family="sans-serif" font-size="12">\n'
                   '<title>Efficiency of a step against one rank</title>\n'
                   '<rect width="100%" height="100%" fill="#fff"/>\n' + '\n'.join(panels)
                   + '\n</svg>\n')


if __name__ == '__main__':
    main()
