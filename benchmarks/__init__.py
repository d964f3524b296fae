"""The benchmark harness: what each stage costs, beside the floor of the same machine.

`python -m benchmarks` runs it. Made data is in `data.py`, how a process is measured in
`measure.py`, what is measured in `floor.py` and `stages.py`, the order of it in `rounds.py`, and
what is made of the figures in `figures.py` and `table.py`. Nothing of the product lives here.
"""
