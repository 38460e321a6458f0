"""Features of faces, by which a recogniser tells whether two images show one person. Off unless a job or a command asks."""
