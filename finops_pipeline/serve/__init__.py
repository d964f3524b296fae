"""The faces over `query/` that other programs see: the REST API.

`service.py` asks, `app.py` is the routes, `parameters.py` what may stand in their addresses,
`problems.py` what is said when there is no answer, `guard.py` who may ask. None of it looks into
the lake, and every answer is the text that the command of the same name prints as JSON.
"""
