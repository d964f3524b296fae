"""The one way to ask for cost: every face of the product builds a `CostQuery` and calls `ask`.

`dimensions.py` is what can be grouped by, `model.py` the question, `compile.py` its expression and
its files, `answer.py` the answer, `show.py` the answer as text. Faces (CLI, REST, MCP) are
elsewhere.
"""

from finops_pipeline.query.answer import Answer, ask
from finops_pipeline.query.model import CostQuery, QueryError, problems

__all__ = ["Answer", "CostQuery", "QueryError", "ask", "problems"]
