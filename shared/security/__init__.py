"""Who is calling, and what that one may do: tokens, keys, roles, and the record of operators' acts."""
