"""Rankings of many queries and documents, one row out for each row in (``ziprerank batch``, extra ``batch``)."""
