"""What a memory earns on streams that no fit saw, and after their dynamics change."""
