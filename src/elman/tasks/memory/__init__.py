"""Problems that cannot be solved without remembering: the adding problem and the copy problem."""
