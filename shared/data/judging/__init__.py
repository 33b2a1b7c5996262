"""What becomes of each row, as far as the row alone decides: judged here, and in further processes meanwhile."""
